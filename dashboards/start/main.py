"""What Streamlit is started with.

In a folder of its own: a folder `pages` beside the script it is started with is taken, until the first visit of the
front page, as an app of the old kind, in which each file of it is a page by itself.
"""

from dashboards.app import main

main()
