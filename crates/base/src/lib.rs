//! Units, limits, settings files, and the seams for time and disk.
