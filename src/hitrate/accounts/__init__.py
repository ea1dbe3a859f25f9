"""Who may do what: teams, tokens and the gate that every request passes."""
