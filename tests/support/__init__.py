"""What tests share: projects, programs, stand-ins. No test imports another test."""
