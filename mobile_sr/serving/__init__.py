"""The page of web_demo on the local network: the models that it offers, the server, and the results that browsers send."""
