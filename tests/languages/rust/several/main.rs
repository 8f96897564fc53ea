mod lib_part;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    println!("{} {} {}", lib_part::word(), args.join("|"), std::env::var("GREETING").unwrap());
}
