//! How a log is kept on several machines, pure: what is said between a master and its slaves
//! (upstream `HAService`), and what either concludes of it. Told the time, no sockets, no threads.
