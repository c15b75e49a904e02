//! What a process has used, by the kernel's account.

use std::fs;

/// Processor time in microseconds, user and system, of all its threads; steps of 10 ms.
pub fn cpu_us(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of ours");
    // The name in brackets may hold anything; user and system time are the 12th and 13th field behind it.
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) * 10_000.0
}

/// The most memory that it ever held, in MiB.
pub fn peak_mib(pid: u32) -> f64 {
    kib(pid, "VmHWM") / 1024.0
}

/// The memory that it holds now, in KiB.
pub fn resident_kib(pid: u32) -> f64 {
    kib(pid, "VmRSS")
}

fn kib(pid: u32, name: &str) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process of ours");
    let line = status.lines().find(|line| line.starts_with(name)).expect("the kernel tells it");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number")
}
