import lib.Part;

public class Main {
    public static void main(String[] args) {
        System.out.println(Part.word() + " " + String.join("|", args) + " " + System.getenv("GREETING"));
    }
}
