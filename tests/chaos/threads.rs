//! The bridge with a system that gives its process no more threads, from a moment on.
//!
//! What asks for a thread that it cannot do without panics, as the wrapper of librdkafka does when a client of it is made, and
//! the async runtime does later: those are panics of the real binary, in its own tasks, and nothing was put into it for tests.
//! The system is a library of a few lines before the real one.

use std::{fs, path::PathBuf, process::Command};

use tempfile::TempDir;

/// What a panic for want of a thread says.
pub const PANIC: &str = "Failed to start polling thread";

/// Rust names a size for the stack of its threads, and C in librdkafka does not: its threads are left alone, since it takes
/// the lack of one calmly.
const LIBRARY: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

typedef int create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    const char *sign = getenv("NO_MORE_THREADS");
    if (attributes && sign && access(sign, F_OK) == 0)
        return EAGAIN;
    create *real = (create *)dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, start, argument);
}
"#;

pub struct Threads {
    dir: TempDir,
}

impl Threads {
    /// Builds the library; for now there are threads for everybody.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let source = dir.path().join("threads.c");
        fs::write(&source, LIBRARY).expect("written");
        let mut cc = Command::new("cc");
        let threads = Self { dir };
        cc.args(["-shared", "-fPIC", "-o"]).arg(threads.library()).arg(source).arg("-ldl");
        assert!(cc.status().is_ok_and(|status| status.success()), "cc builds it");
        threads
    }

    /// What the bridge is to be started with.
    pub fn prefix(&self) -> Vec<String> {
        let (library, sign) = (self.library(), self.sign());
        let settings = [
            format!("LD_PRELOAD={}", library.display()),
            format!("NO_MORE_THREADS={}", sign.display()),
            // A panic tells all that it can.
            "RUST_BACKTRACE=full".to_owned(),
        ];
        std::iter::once("env".to_owned()).chain(settings).collect()
    }

    /// From now on there are none.
    pub fn deny(&self) {
        fs::write(self.sign(), "").expect("written");
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("threads.so")
    }

    fn sign(&self) -> PathBuf {
        self.dir.path().join("no-more-threads")
    }
}
