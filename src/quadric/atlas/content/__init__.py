"""What is shown of a form: its axes, its points, its place, its neighbours and its partner."""
