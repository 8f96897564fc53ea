# A ledger: reads movements of money, refuses what cannot be, prints what is left.
class Refused < StandardError; end

class Ledger
  include Enumerable

  def initialize
    @accounts = Hash.new(0)
  end

  def deposit(name, amount)
    @accounts[name] += amount
  end

  def withdraw(name, amount)
    raise Refused, "#{name} has only #{@accounts[name]}" if @accounts[name] < amount

    @accounts[name] -= amount
  end

  def transfer(from, to, amount)
    withdraw(from, amount)
    deposit(to, amount)
  end

  def apply(line)
    case line.split
    in ["deposit" | "withdraw" => verb, name, amount]
      public_send(verb, name, Integer(amount))
    in ["transfer", from, to, amount]
      transfer(from, to, Integer(amount))
    else
      raise Refused, "cannot read #{line.inspect}"
    end
  end

  def each(&)
    @accounts.sort.each(&)
  end

  def total
    sum { |_, amount| amount }
  end
end

ledger = Ledger.new
$stdin.each_line(chomp: true).with_index(1) do |line, number|
  ledger.apply(line)
rescue Refused => e
  puts "line #{number}: #{e.message}"
end
ledger.each { |name, amount| puts "#{name} #{amount}" }
puts "total #{ledger.total}"
