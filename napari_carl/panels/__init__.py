"""One panel per step: panels show a session and call its methods; they compute nothing."""
