import java.util.ArrayList;

public class Main {
    public static void main(String[] args) {
        var kept = new ArrayList<byte[]>();
        while (true) {
            byte[] more = new byte[1 << 20];
            java.util.Arrays.fill(more, (byte) 1);
            kept.add(more);
        }
    }
}
