"""What joins the rooms of several servers; on one server it is its memory."""
