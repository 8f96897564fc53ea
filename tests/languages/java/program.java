// A ledger: reads movements of money, refuses what cannot be, prints what is left.
import java.util.Map;
import java.util.Scanner;
import java.util.TreeMap;

public class Main {
    static class Refused extends Exception {
        Refused(String why) {
            super(why);
        }
    }

    record Movement(String verb, String from, String to, long amount) {
        static Movement parse(String line) throws Refused {
            String[] words = line.split(" ");
            return switch (words[0] + words.length) {
                case "deposit3" -> new Movement("deposit", null, words[1], Long.parseLong(words[2]));
                case "withdraw3" -> new Movement("withdraw", words[1], null, Long.parseLong(words[2]));
                case "transfer4" -> new Movement("transfer", words[1], words[2], Long.parseLong(words[3]));
                default -> throw new Refused("cannot read \"" + line + "\"");
            };
        }
    }

    private final Map<String, Long> accounts = new TreeMap<>();

    void apply(Movement movement) throws Refused {
        if (movement.from() != null) {
            long held = accounts.getOrDefault(movement.from(), 0L);
            if (held < movement.amount()) {
                throw new Refused(movement.from() + " has only " + held);
            }
            accounts.put(movement.from(), held - movement.amount());
        }
        if (movement.to() != null) {
            accounts.merge(movement.to(), movement.amount(), Long::sum);
        }
    }

    public static void main(String[] args) {
        var ledger = new Main();
        var in = new Scanner(System.in);
        for (int number = 1; in.hasNextLine(); number++) {
            try {
                ledger.apply(Movement.parse(in.nextLine()));
            } catch (Refused why) {
                System.out.printf("line %d: %s%n", number, why.getMessage());
            }
        }
        ledger.accounts.forEach((name, amount) -> System.out.println(name + " " + amount));
        long total = ledger.accounts.values().stream().mapToLong(Long::longValue).sum();
        System.out.println("total " + total);
    }
}
