//! The remoting protocol: frames, headers, request codes, JSON bodies.
