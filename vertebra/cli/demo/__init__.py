"""The demo: a recorded consultation becomes a report, though the machine dies in the middle."""
