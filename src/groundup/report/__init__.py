"""What a build came to: `page.write(run)` for a person, `figures.figures(run)` for a program."""
