"""Run the command line: `python -m course_utils COMMAND`."""

from course_utils.cli import main

if __name__ == "__main__":
    main()
