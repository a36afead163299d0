"""What the method is fed: data sets, splits, images, reports, their validation, and the store. Never imports flows."""
