"""The comparison of Apogee with Apache RocketMQ: see docs/compare.md."""
