"""The long-running process: service, lanes, schedule, health; and the doctor."""
