"""What Streamlit is started with where one has to log in: the same script, behind the door."""

from pathlib import Path

from starlette.middleware import Middleware
from streamlit import App

from dashboards.door import Door, read_login

app = App(Path(__file__).parent / "main.py", secrets=read_login().secrets or None, middleware=[Middleware(Door)])
