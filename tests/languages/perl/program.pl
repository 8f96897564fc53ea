# A ledger: reads movements of money, refuses what cannot be, prints what is left.
use strict;
use warnings;
use feature qw(say);
use List::Util qw(sum0);

package Ledger;

sub new {
    my ($class) = @_;
    return bless { accounts => {} }, $class;
}

sub deposit {
    my ( $self, $name, $amount ) = @_;
    $self->{accounts}{$name} += $amount;
    return;
}

sub withdraw {
    my ( $self, $name, $amount ) = @_;
    my $held = $self->{accounts}{$name} // 0;
    die "$name has only $held\n" if $held < $amount;
    $self->{accounts}{$name} = $held - $amount;
    return;
}

sub transfer {
    my ( $self, $from, $to, $amount ) = @_;
    $self->withdraw( $from, $amount );
    $self->deposit( $to, $amount );
    return;
}

sub apply {
    my ( $self, $line ) = @_;
    if ( $line =~ /^(deposit|withdraw) (\w+) (\d+)$/ ) {
        return $self->$1( $2, $3 );
    }
    if ( my ( $from, $to, $amount ) = $line =~ /^transfer (\w+) (\w+) (\d+)$/ ) {
        return $self->transfer( $from, $to, $amount );
    }
    die qq{cannot read "$line"\n};
}

package main;

my $ledger = Ledger->new;
while ( my $line = <STDIN> ) {
    chomp $line;
    print "line $.: $@" unless eval { $ledger->apply($line); 1 };
}
my $accounts = $ledger->{accounts};
say "$_ $accounts->{$_}" for sort keys %$accounts;
say 'total ', sum0( values %$accounts );
