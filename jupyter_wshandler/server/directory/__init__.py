"""The directory: what people of one JupyterHub share with each other by name.

A service of the Hub keeps the list and knows who is who; users' servers tell it what is shared, and
ask it who somebody is that comes.
"""
