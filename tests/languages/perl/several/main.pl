use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Part;

print Part::word(), " ", join("|", @ARGV), " $ENV{GREETING}\n";
