use std::process::Command;
use std::sync::{mpsc, Arc, Mutex};
use std::time::Duration;
use std::{env, fs, thread};

fn main() {
    let total = Arc::new(Mutex::new(0));
    let threads: Vec<_> = (0..10)
        .map(|_| {
            let total = Arc::clone(&total);
            thread::spawn(move || *total.lock().unwrap() += 1)
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    println!("threads {}", total.lock().unwrap());
    let (send, receive) = mpsc::channel();
    thread::spawn(move || (0..9).for_each(|n| send.send(n).unwrap()));
    println!("channel {}", receive.iter().sum::<i32>());
    let child = Command::new("/bin/echo").arg("child").output().unwrap();
    println!("subprocess {}", String::from_utf8_lossy(&child.stdout).trim());
    let path = env::temp_dir().join("note");
    fs::write(&path, "kept").unwrap();
    println!("tempfile {}", fs::read_to_string(&path).unwrap());
    thread::sleep(Duration::from_millis(5));
    std::panic::set_hook(Box::new(|_| ()));
    let caught = std::panic::catch_unwind(|| panic!("caught"));
    println!("panic {}", caught.is_err());
}
