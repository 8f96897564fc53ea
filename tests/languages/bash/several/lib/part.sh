word() { echo part; }
