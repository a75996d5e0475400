"""What only the lessons of this course need: exercises, diagrams, experiments and their results."""
