use strict;
use warnings;

print while <STDIN>;
