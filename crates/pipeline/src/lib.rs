//! YAML to plan to run: steps, events, plugin host, reports.
