"""Values in pieces that are stored once, whatever the database: functions of what is put and what was put before."""
