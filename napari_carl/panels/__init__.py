"""One small widget per step. Panels show a session and call its methods; they compute nothing."""
