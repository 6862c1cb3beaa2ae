"""Files for other tools: `ranklsim export`."""
