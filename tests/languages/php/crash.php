<?php
function boom(): never
{
    throw new LogicException("nobody catches this");
}

boom();
