"""What several rooms of tests share: answers, harnesses. No test imports another test."""
