"""What makes a strongroom process hard to look into. ``posture`` says what is on, and why not."""
