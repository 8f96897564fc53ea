// A ledger: reads movements of money, refuses what cannot be, prints what is left.
use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead};

enum Refused {
    Poor { name: String, held: u64 },
    Unreadable(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Poor { name, held } => write!(out, "{name} has only {held}"),
            Refused::Unreadable(line) => write!(out, "cannot read {line:?}"),
        }
    }
}

#[derive(Default)]
struct Ledger(BTreeMap<String, u64>);

impl Ledger {
    fn deposit(&mut self, name: &str, amount: u64) {
        *self.0.entry(name.to_owned()).or_default() += amount;
    }

    fn withdraw(&mut self, name: &str, amount: u64) -> Result<(), Refused> {
        let held = self.0.entry(name.to_owned()).or_default();
        *held = held.checked_sub(amount).ok_or_else(|| Refused::Poor { name: name.to_owned(), held: *held })?;
        Ok(())
    }

    fn apply(&mut self, line: &str) -> Result<(), Refused> {
        let unreadable = || Refused::Unreadable(line.to_owned());
        let words: Vec<&str> = line.split_whitespace().collect();
        let amount = || words[words.len() - 1].parse().map_err(|_| unreadable());
        match words.as_slice() {
            ["deposit", name, _] => self.deposit(name, amount()?),
            ["withdraw", name, _] => self.withdraw(name, amount()?)?,
            ["transfer", from, to, _] => {
                self.withdraw(from, amount()?)?;
                self.deposit(to, amount()?);
            }
            _ => return Err(unreadable()),
        }
        Ok(())
    }
}

fn main() -> io::Result<()> {
    let mut ledger = Ledger::default();
    for (index, line) in io::stdin().lock().lines().enumerate() {
        if let Err(why) = ledger.apply(&line?) {
            println!("line {}: {}", index + 1, why);
        }
    }
    for (name, amount) in &ledger.0 {
        println!("{name} {amount}");
    }
    println!("total {}", ledger.0.values().sum::<u64>());
    Ok(())
}
