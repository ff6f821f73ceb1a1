//! The process of a function or of its peer: its core, its start, its CPU time and its memory.

use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::load::Connection;

/// The core that the function is pinned to, and the core that everything else is pinned to.
#[derive(Clone, Copy)]
pub(crate) struct Cores {
    function: usize,
    others: usize,
}

impl Cores {
    /// The first two of the cores that this process may use. `None` if the process may use only one core.
    pub(crate) fn take() -> anyhow::Result<Option<Self>> {
        let permitted = sched_getaffinity(None)?;
        let mut cores = (0..CpuSet::MAX_CPU).filter(|core| permitted.is_set(*core));
        let (Some(function), Some(others)) = (cores.next(), cores.next()) else { return Ok(None) };
        Ok(Some(Self { function, others }))
    }

    /// Pins this thread, and all threads that it starts later, to the core that is not the function's.
    pub(crate) fn pin_others(self) -> anyhow::Result<()> {
        pin(self.others)
    }
}

/// A loop that keeps the function's core from halting. The loop runs only while nothing else runs on that
/// core, and ends when this value is dropped.
pub(crate) struct Awake(Child);

impl Awake {
    /// Starts the loop that keeps the core awake. `None` if the function has no core for itself, or if `chrt`
    /// is missing.
    pub(crate) fn keep(cores: Option<Cores>) -> anyhow::Result<Option<Self>> {
        if cores.is_none() {
            return Ok(None);
        }
        let mut idle = Command::new("chrt");
        idle.args(["--idle", "0", "sh", "-c", "while :; do :; done"]).stdin(Stdio::null());
        on_its_core(cores, || match idle.spawn() {
            Ok(process) => Ok(Some(Self(process))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("chrt"),
        })
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        end(&mut self.0);
    }
}

fn end(process: &mut Child) {
    // An error is ignored, because the process may have ended already.
    let _ = process.kill();
    let _ = process.wait();
}

fn pin(core: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

/// Does `work` on the function's core. A process that `work` starts stays on the function's core.
pub(crate) fn on_its_core<T: Send>(
    cores: Option<Cores>,
    work: impl FnOnce() -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    let pinned = || {
        if let Some(cores) = cores {
            pin(cores.function)?;
        }
        work()
    };
    std::thread::scope(|scope| scope.spawn(pinned).join()).expect("the measurement panicked")
}

/// The process of a function or of its peer. The process is killed when this value is dropped.
pub(crate) struct Function {
    process: Child,
    address: SocketAddr,
}

/// CPU time, in the kernel's ticks.
#[derive(Clone, Copy)]
pub(crate) struct Cpu {
    user: u64,
    system: u64,
}

impl Cpu {
    /// The CPU time since an earlier reading: in user mode, and in the kernel.
    pub(crate) fn since(self, before: Self) -> (Duration, Duration) {
        let tick = Duration::from_secs(1)
            / u32::try_from(rustix::param::clock_ticks_per_second())
                .expect("there are 100 ticks a second");
        let time = |ticks: u64| tick * u32::try_from(ticks).unwrap_or(u32::MAX);
        (time(self.user - before.user), time(self.system - before.system))
    }
}

/// Memory, in MiB.
#[derive(Clone, Copy)]
pub(crate) struct Memory {
    /// The resident memory.
    pub(crate) rss: f64,
    /// The resident memory, with shared memory divided among the processes that share it.
    pub(crate) pss: Option<f64>,
}

impl Function {
    /// Starts a function on a free port, with only these environment variables.
    pub(crate) fn start(binary: &Path, environment: &[(&str, String)]) -> anyhow::Result<Self> {
        Self::start_with_arguments(binary, [""; 0], environment)
    }

    /// Starts a program that reads its port from the variable from which functions read theirs.
    pub(crate) fn start_with_arguments(
        binary: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
        environment: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        let process = Command::new(binary)
            .args(arguments)
            .env_clear()
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .env("VERCEL_DEV_PORT", address.port().to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("{}", binary.display()))?;
        Ok(Self { process, address })
    }

    /// The address on which the process listens, or will listen.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects to the process, as soon as it listens.
    pub(crate) fn wait_until_it_listens(&mut self) -> anyhow::Result<Connection> {
        loop {
            if let Ok(connection) = Connection::open(self.address) {
                return Ok(connection);
            }
            ensure!(self.process.try_wait()?.is_none(), "the function ended at its start");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    /// The CPU time of the process so far, in all of its threads.
    pub(crate) fn cpu(&self) -> anyhow::Result<Cpu> {
        let stat = self.proc("stat")?;
        // The fields of `/proc/…/stat` are counted from 1. The second field is the process's name, in
        // parentheses.
        let (_, rest) = stat.rsplit_once(')').context("/proc/…/stat is malformed")?;
        let mut times = rest.split_whitespace().skip(14 - 3).map(str::parse);
        match (times.next(), times.next()) {
            (Some(Ok(user)), Some(Ok(system))) => Ok(Cpu { user, system }),
            _ => anyhow::bail!("/proc/…/stat is malformed"),
        }
    }

    /// The memory of the process now.
    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let rss = mib(&self.proc("status")?, "VmRSS:").context("/proc/…/status has no VmRSS")?;
        let pss = self.proc("smaps_rollup").ok().and_then(|text| mib(&text, "Pss:"));
        Ok(Memory { rss, pss })
    }

    /// The largest resident memory of the process so far, in MiB.
    pub(crate) fn peak(&self) -> anyhow::Result<f64> {
        mib(&self.proc("status")?, "VmHWM:").context("/proc/…/status has no VmHWM")
    }

    fn proc(&self, file: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{file}", self.process.id());
        fs::read_to_string(&path).context(path)
    }
}

impl Drop for Function {
    fn drop(&mut self) {
        end(&mut self.process);
    }
}

/// The value of a line such as `VmRSS:  1024 kB`.
fn mib(text: &str, name: &str) -> Option<f64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u32 = value.split_whitespace().next()?.parse().ok()?;
    Some(f64::from(kib) / 1024.0)
}
