//! The processes that this one started. Known on Linux; elsewhere nothing is.

use rustix::process::{Pid, Signal, kill_process};

/// Ends every process that descends from this one, but for those of `spared` and theirs.
pub fn kill_descendants(spared: &[u32]) {
    for child in children(std::process::id()) {
        if !spared.contains(&child) {
            kill_tree(child);
        }
    }
}

/// Ends every process that descends from this one. Whether there was one.
pub fn kill_children(process: u32) -> bool {
    let children = children(process);
    let is_any = !children.is_empty();
    children.into_iter().for_each(kill_tree);
    is_any
}

/// Ends a process and every one that descends from it.
pub fn kill_tree(process: u32) {
    // Its children first: without it they would be somebody else's.
    let children = children(process);
    if let Some(pid) = i32::try_from(process).ok().and_then(Pid::from_raw) {
        // It may have ended by itself.
        let _ = kill_process(pid, Signal::KILL);
    }
    children.into_iter().for_each(kill_tree);
}

fn children(process: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect()
}
