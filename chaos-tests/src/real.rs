//! Real `rotary` processes, broken on purpose by the kernel's own means.
//!
//! ```text
//!   run --> plan --> nemesis --+--> process   kill, pause, terminate
//!    |                         +--> switch    every packet between nodes and clients
//!    |                         +--> volume    the file system that a node lives on
//!    +--> load, history        +--> cgroup, clock
//! ```
//!
//! The harness runs inside one mount, process and network `namespace` that takes everything along
//! when it ends. Each node has a network namespace whose only device is a TUN that the harness
//! holds, so that a `switch` in this process decides about each packet, and a loop-mounted `volume`
//! whose power can be cut. A `nemesis` uses them; what counts as a fault is not that it was
//! ordered, but that it *bit*: packets fell, a leader with work died.
//!
//! What a machine lacks is found by `probe`; what needs it is then unknown, never green.
//!
//! A build of the product for harnesses, which a `program` says that it is, can also have a planted
//! bug, or a disk that fails at a named place.
//!
//! Deliberately absent: switches in builds that serve, and faults that are believed without a
//! counter of their own.

pub mod args;
pub mod campaign;
pub mod cgroup;
pub mod clock;
pub mod cluster;
pub mod http;
pub mod ioctl;
pub mod load;
pub mod namespace;
pub mod nemesis;
pub mod network;
pub mod outside;
pub mod probe;
pub mod process;
pub mod program;
pub mod run;
pub mod scenario;
pub mod shell;
pub mod switch;
pub mod verdict;
pub mod view;
pub mod volume;
pub mod wires;
