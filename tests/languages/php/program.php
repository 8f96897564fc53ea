<?php
// A ledger: reads movements of money, refuses what cannot be, prints what is left.
declare(strict_types=1);

final class Refused extends RuntimeException
{
}

final class Ledger
{
    /** @var array<string, int> */
    private array $accounts = [];

    public function deposit(string $name, int $amount): void
    {
        $this->accounts[$name] = ($this->accounts[$name] ?? 0) + $amount;
    }

    public function withdraw(string $name, int $amount): void
    {
        $held = $this->accounts[$name] ?? 0;
        if ($held < $amount) {
            throw new Refused("$name has only $held");
        }
        $this->accounts[$name] = $held - $amount;
    }

    public function apply(string $line): void
    {
        $words = explode(' ', $line);
        match ([$words[0], count($words)]) {
            ['deposit', 3] => $this->deposit($words[1], (int) $words[2]),
            ['withdraw', 3] => $this->withdraw($words[1], (int) $words[2]),
            ['transfer', 4] => [
                $this->withdraw($words[1], (int) $words[3]),
                $this->deposit($words[2], (int) $words[3]),
            ],
            default => throw new Refused("cannot read \"$line\""),
        };
    }

    /** @return Generator<string, int> */
    public function rows(): Generator
    {
        ksort($this->accounts);
        yield from $this->accounts;
    }
}

$ledger = new Ledger();
for ($number = 1; ($line = fgets(STDIN)) !== false; $number++) {
    try {
        $ledger->apply(rtrim($line, "\n"));
    } catch (Refused $why) {
        printf("line %d: %s\n", $number, $why->getMessage());
    }
}
foreach ($ledger->rows() as $name => $amount) {
    echo "$name $amount\n";
}
echo 'total ', array_sum(iterator_to_array($ledger->rows())), "\n";
