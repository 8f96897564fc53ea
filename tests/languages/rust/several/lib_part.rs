pub fn word() -> &'static str {
    "part"
}
