// A ledger: reads movements of money, refuses what cannot be, prints what is left.
package main

import (
	"bufio"
	"fmt"
	"os"
	"sort"
)

type ledger map[string]int

func (l ledger) deposit(name string, amount int) error {
	l[name] += amount
	return nil
}

func (l ledger) withdraw(name string, amount int) error {
	if l[name] < amount {
		return fmt.Errorf("%s has only %d", name, l[name])
	}
	l[name] -= amount
	return nil
}

func (l ledger) transfer(from, to string, amount int) error {
	if err := l.withdraw(from, amount); err != nil {
		return err
	}
	return l.deposit(to, amount)
}

func (l ledger) apply(line string) error {
	var a, b string
	var amount int
	if n, _ := fmt.Sscanf(line, "deposit %s %d", &a, &amount); n == 2 {
		return l.deposit(a, amount)
	}
	if n, _ := fmt.Sscanf(line, "withdraw %s %d", &a, &amount); n == 2 {
		return l.withdraw(a, amount)
	}
	if n, _ := fmt.Sscanf(line, "transfer %s %s %d", &a, &b, &amount); n == 3 {
		return l.transfer(a, b, amount)
	}
	return fmt.Errorf("cannot read %q", line)
}

func main() {
	accounts := ledger{}
	in := bufio.NewScanner(os.Stdin)
	for number := 1; in.Scan(); number++ {
		if err := accounts.apply(in.Text()); err != nil {
			fmt.Printf("line %d: %v\n", number, err)
		}
	}
	names, total := []string{}, 0
	for name, amount := range accounts {
		names = append(names, name)
		total += amount
	}
	sort.Strings(names)
	for _, name := range names {
		fmt.Println(name, accounts[name])
	}
	fmt.Println("total", total)
}
