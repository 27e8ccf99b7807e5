"""What the page Alerts is made of: one module for each of its parts."""
