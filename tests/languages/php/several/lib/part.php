<?php
function word(): string
{
    return "part";
}
