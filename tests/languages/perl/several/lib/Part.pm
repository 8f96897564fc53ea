package Part;
use strict;
use warnings;

sub word { return "part" }

1;
