import java.math.BigInteger;
import java.nio.file.Files;
import java.security.MessageDigest;
import java.time.LocalDate;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.IntStream;

public class Main {
    public static void main(String[] args) throws Exception {
        var total = new AtomicInteger();
        var threads = IntStream.range(0, 10).mapToObj(i -> new Thread(total::incrementAndGet)).toList();
        threads.forEach(Thread::start);
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("threads " + total);
        var pool = Executors.newFixedThreadPool(4);
        var futures = IntStream.range(0, 9).mapToObj(i -> pool.submit(() -> i)).toList();
        int sum = 0;
        for (var future : futures) {
            sum += future.get();
        }
        pool.shutdown();
        System.out.println("pool " + sum);
        var child = new ProcessBuilder("/bin/echo", "child").start();
        System.out.println("subprocess " + new String(child.getInputStream().readAllBytes()).strip());
        var path = Files.createTempFile("note", ".txt");
        Files.writeString(path, "kept");
        System.out.println("tempfile " + Files.readString(path));
        System.out.println("parallel " + IntStream.rangeClosed(1, 100_000).parallel().asLongStream().sum());
        System.out.println("future " + CompletableFuture.supplyAsync(() -> 36).get());
        var hash = MessageDigest.getInstance("SHA-256").digest("x".getBytes());
        System.out.println("digest " + new BigInteger(1, hash).toString(16).substring(0, 8));
        System.out.println("date " + LocalDate.of(2024, 2, 28).plusDays(2) + " " + List.of(1, 2));
        long garbage = 0;
        for (int i = 0; i < 2000; i++) {
            garbage += new byte[1 << 20].length >> 20;
        }
        System.out.println("garbage " + garbage);
    }
}
