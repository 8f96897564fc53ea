package lib;

public class Part {
    public static String word() {
        return "part";
    }
}
