"""What platform teams do with the template: templates of their own, and the care of many projects."""
