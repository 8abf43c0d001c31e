//! The controller: elects the master of each group of brokers among those that have everything that was
//! acknowledged (upstream `ControllerManager`). Its own state is replicated by Raft.
