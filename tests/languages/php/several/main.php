<?php
require __DIR__ . "/lib/part.php";

echo word(), " ", implode("|", array_slice($argv, 1)), " ", getenv("GREETING"), "\n";
