// A ledger: reads movements of money, refuses what cannot be, prints what is left.
#include <iostream>
#include <map>
#include <numeric>
#include <sstream>
#include <stdexcept>
#include <string>

struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

class Ledger {
public:
    void deposit(const std::string& name, long amount) { accounts_[name] += amount; }

    void withdraw(const std::string& name, long amount) {
        auto& held = accounts_[name];
        if (held < amount) throw Refused(name + " has only " + std::to_string(held));
        held -= amount;
    }

    void transfer(const std::string& from, const std::string& to, long amount) {
        withdraw(from, amount);
        deposit(to, amount);
    }

    void apply(const std::string& line) {
        std::istringstream words(line);
        std::string verb, a, b;
        long amount = 0;
        words >> verb >> a;
        if (verb == "deposit" && words >> amount) deposit(a, amount);
        else if (verb == "withdraw" && words >> amount) withdraw(a, amount);
        else if (verb == "transfer" && words >> b >> amount) transfer(a, b, amount);
        else throw Refused("cannot read \"" + line + '"');
    }

    friend std::ostream& operator<<(std::ostream& out, const Ledger& ledger) {
        for (const auto& [name, amount] : ledger.accounts_) out << name << ' ' << amount << '\n';
        const auto add = [](long sum, const auto& account) { return sum + account.second; };
        return out << "total " << std::accumulate(ledger.accounts_.begin(), ledger.accounts_.end(), 0L, add) << '\n';
    }

private:
    std::map<std::string, long> accounts_;
};

int main() {
    Ledger ledger;
    std::string line;
    for (int number = 1; std::getline(std::cin, line); ++number) {
        try {
            ledger.apply(line);
        } catch (const Refused& why) {
            std::cout << "line " << number << ": " << why.what() << '\n';
        }
    }
    std::cout << ledger;
}
