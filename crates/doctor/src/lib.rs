//! What is wrong with a cluster: checks of what users trip over.
//!
//! A check is a plain function in `checks/`: it gets [`Facts`] and adds [`Finding`]s. Facts come from a cluster by the
//! client's administration ([`ask`]), be it Apogee or Apache RocketMQ, or out of a broker's own tables.

mod ask;
mod checks;
mod command;
mod facts;
mod history;
mod machine;

pub use apogee_wire::bodies::{Finding, Severity};
pub use ask::{Bounds, ask, ask_holders, ask_name_servers, wish};
pub use checks::examine;
pub use command::{DoctorArgs, run};
pub use facts::*;
pub use history::{Diary, History, PATIENCE};
pub use machine::this_machine;
